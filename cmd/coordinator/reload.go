package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// heedHangups has SIGHUP ask for the file of settings to be read again, from here on
// and until the returned function is called. Without such a file the signal stays
// what it is elsewhere: the terminal is gone.
func (d *daemon) heedHangups() (stop func()) {
	if d.cfg.file == "" {
		return func() {}
	}
	d.hangups = make(chan os.Signal, 1)
	signal.Notify(d.hangups, syscall.SIGHUP)
	return func() { signal.Stop(d.hangups) }
}

// rereadOnHangup reads the file of settings again whenever it is asked to, until
// ended is closed.
func (d *daemon) rereadOnHangup(ctx context.Context, ended <-chan struct{}) {
	inForce := d.settings
	for {
		select {
		case <-d.hangups:
			read, err := d.reread(ctx, inForce)
			if err != nil {
				d.log.Error("settings are not read again, those in force stay", zap.Error(err))
				continue
			}
			inForce = read
		case <-ended:
			return
		}
	}
}

// reloadable are the settings that a running node takes from its file anew.
var reloadable = []string{"priority", "log-level"}

// reread reads the file of settings again, puts into force what has changed in it and
// needs no restart, and returns what it has read. A file that a node could not start
// with changes nothing.
func (d *daemon) reread(ctx context.Context, inForce *pflag.FlagSet) (*pflag.FlagSet, error) {
	var cfg runConfig
	read := cfg.settings()
	if err := carry(read, d.settings); err != nil {
		return nil, err
	}
	if _, err := cfg.resolve(read); err != nil {
		return nil, err
	}
	var changed, late []string
	read.VisitAll(func(f *pflag.Flag) {
		atOnce := slices.Contains(reloadable, f.Name)
		switch {
		case atOnce && differ(f.Name, read, inForce):
			changed = append(changed, f.Name)
		case !atOnce && differ(f.Name, read, d.settings):
			late = append(late, f.Name)
		}
	})
	d.log.Info("settings are read again", zap.String("file", cfg.file), zap.Strings("changed", changed))
	if len(late) > 0 {
		d.log.Warn("these settings have changed and count from the next start on", zap.Strings("settings", late))
	}
	var err error
	if slices.Contains(changed, "priority") {
		_, err = d.node.SetPriority(ctx, cfg.priority)
	}
	if slices.Contains(changed, "log-level") {
		level, errLevel := cfg.log.parse()
		err = errors.Join(err, errLevel)
		d.logged.level.SetLevel(level)
	}
	return read, err
}

// carry gives settings what a running process cannot be told otherwise: what came by
// flags and by the environment.
func carry(to, from *pflag.FlagSet) error {
	var err error
	from.VisitAll(func(f *pflag.Flag) {
		o := originOf(f)
		if o.Kind == originFlag || o.Kind == originEnvironment {
			values, list := valueOf(f)
			g := to.Lookup(f.Name)
			err = errors.Join(err, assign(g, values, list))
			o.note(g)
		}
	})
	return err
}

// differ tells whether a setting has another value in a than in b.
func differ(name string, a, b *pflag.FlagSet) bool {
	here, _ := valueOf(a.Lookup(name))
	there, _ := valueOf(b.Lookup(name))
	return !slices.Equal(here, there)
}
