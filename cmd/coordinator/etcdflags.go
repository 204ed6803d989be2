// The flags that say how to reach an external etcd.

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/coordinator-ha/coordinator/etcdstore"
)

// etcdFlags say how to reach an external etcd and how to log in.
type etcdFlags struct{ ca, cert, key, user, passwordFile string }

func (e *etcdFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&e.ca, "etcd-cacert", "", "file with the CAs that may have signed etcd's certificate (default: those of the system)")
	f.StringVar(&e.cert, "etcd-cert", "", "file with the client certificate for etcd")
	f.StringVar(&e.key, "etcd-key", "", "file with the key of that certificate")
	f.StringVar(&e.user, "etcd-user", "", "etcd user (default: the common name of the certificate, if etcd's auth is on)")
	f.StringVar(&e.passwordFile, "etcd-password-file", "", "file with that user's password")
}

// apply copies the flags to cfg.
func (e *etcdFlags) apply(cfg *etcdstore.Config) {
	if e.ca != "" || e.cert != "" || e.key != "" {
		cfg.TLS = etcdstore.TLSFiles(e.ca, e.cert, e.key)
	}
	cfg.User = e.user
	if e.passwordFile != "" {
		cfg.Password = etcdstore.PasswordFile(e.passwordFile)
	}
}

// check reports flags that do not go together.
func (e *etcdFlags) check(external bool) error {
	var err error
	if *e != (etcdFlags{}) && !external {
		err = errors.New("--etcd-cacert, --etcd-cert, --etcd-key, --etcd-user and --etcd-password-file are for an external etcd: name it with --endpoints")
	}
	if (e.cert == "") != (e.key == "") {
		err = errors.Join(err, fmt.Errorf("--etcd-cert %q and --etcd-key %q: give both or neither", e.cert, e.key))
	}
	if (e.user == "") != (e.passwordFile == "") {
		err = errors.Join(err, fmt.Errorf("--etcd-user %q and --etcd-password-file %q: give both or neither", e.user, e.passwordFile))
	}
	return err
}
