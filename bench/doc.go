// Package bench measures what the library adds to etcd.
package bench
