// Command etcd is etcd's own server, built from the released module that this
// project pins. Tests that need an etcd as a process, to kill or freeze it, and
// images that need one where none can be pulled, build it from here.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
