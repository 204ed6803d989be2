package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// hangup has the file of settings read again, if there is one.
func (d *daemon) hangup() {
	if d.cfg.file == "" {
		d.log.Info("hangup ignored: there is no file of settings to read again")
		return
	}
	select {
	case d.hangups <- struct{}{}:
	default: // it is to be read anyway
	}
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
// with changes nothing, nor does one that was emptied: somebody is about to write it.
func (d *daemon) reread(ctx context.Context, inForce *pflag.FlagSet) (*pflag.FlagSet, error) {
	var cfg runConfig
	read := cfg.settings()
	if err := carry(read, d.settings); err != nil {
		return nil, err
	}
	// A pipe can have been read at the start, and may have no end now.
	if info, err := os.Stat(d.cfg.file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", d.cfg.file)
	}
	if _, err := cfg.resolve(read); err != nil {
		return nil, err
	}
	if filed(read) == 0 && filed(inForce) > 0 {
		return nil, fmt.Errorf("%s holds no settings any more", cfg.file)
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

// filed counts the settings that come from a file.
func filed(settings *pflag.FlagSet) (count int) {
	settings.VisitAll(func(f *pflag.Flag) {
		if originOf(f).Kind == originFile {
			count++
		}
	})
	return count
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
