// SIGHUP: the settings file is read again while the node runs.

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

// requestReload asks for the settings file to be read again, if there is one.
func (d *daemon) requestReload() {
	if d.cfg.file == "" {
		d.log.Info("hangup ignored: there is no settings file to read again")
		return
	}
	select {
	case d.hangups <- struct{}{}:
	default: // a request is waiting already
	}
}

// reloadOnRequest reads the settings file again whenever asked to, until ended is closed.
func (d *daemon) reloadOnRequest(ctx context.Context, ended <-chan struct{}) {
	inForce := d.settings
	for {
		select {
		case <-d.hangups:
			read, err := d.reload(ctx, inForce)
			if err != nil {
				d.log.Error("settings could not be read again, the old ones stay in force", zap.Error(err))
				continue
			}
			inForce = read
		case <-ended:
			return
		}
	}
}

// reloadable are the settings that a running node takes over from its file.
var reloadable = []string{"priority", "log-level"}

// reload reads the settings file again, applies the changed settings that need no restart,
// and returns what it has read. An invalid file changes nothing, nor does an emptied one:
// it is probably being written.
func (d *daemon) reload(ctx context.Context, inForce *pflag.FlagSet) (*pflag.FlagSet, error) {
	var cfg runConfig
	read := cfg.settings()
	if err := copyFixed(read, d.settings); err != nil {
		return nil, err
	}
	// A pipe could be read at the start, but may never end now.
	if info, err := os.Stat(d.cfg.file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", d.cfg.file)
	}
	if _, err := cfg.resolve(read); err != nil {
		return nil, err
	}
	if countFromFile(read) == 0 && countFromFile(inForce) > 0 {
		return nil, fmt.Errorf("%s contains no settings any more", cfg.file)
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
	d.log.Info("settings read again", zap.String("file", cfg.file), zap.Strings("changed", changed))
	if len(late) > 0 {
		d.log.Warn("changed settings take effect only after a restart", zap.Strings("settings", late))
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

// countFromFile counts the settings that come from a file.
func countFromFile(settings *pflag.FlagSet) (count int) {
	settings.VisitAll(func(f *pflag.Flag) {
		if originOf(f).Kind == originFile {
			count++
		}
	})
	return count
}

// copyFixed copies the settings that cannot change while the process runs: those given by
// flags and by the environment.
func copyFixed(to, from *pflag.FlagSet) error {
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

// differ reports whether a setting differs between a and b.
func differ(name string, a, b *pflag.FlagSet) bool {
	here, _ := valueOf(a.Lookup(name))
	there, _ := valueOf(b.Lookup(name))
	return !slices.Equal(here, there)
}
