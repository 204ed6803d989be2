package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordinator-ha/coordinator/internal/httpapi/client"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
)

// This file says what a shell completes: words that are known, and names that a node
// is asked for.

// modeWords are the modes, as people type them.
var modeWords = []string{"auto", "master", "standby", "hot_standby", "hot_backup", "disabled"}

// levelWords are the levels of a log.
var levelWords = []string{"debug", "info", "warn", "error"}

// flagWords are the values of flags that take one of a few words.
var flagWords = map[string][]string{
	"mode":           modeWords,
	"auto-standby":   {"hot", "cold"},
	"persist":        {"auto", "rebind", "clean", "disabled"},
	"rebind-failure": {"continue", "fail_at_end", "fail_fast"},
	"log-level":      levelWords,
	"log-format":     {"auto", "console", "json"},
	"output":         {"table", "json", "yaml"},
}

// argWords are the arguments of commands that take one of a few words.
var argWords = map[string][]string{
	"mode":      modeWords,
	"log-level": levelWords,
	"health": {
		"live", "ready", "master", "standby", "hot_standby", "hot_backup", "hot", "readable", "promotable", "writable",
	},
}

// naming finds names that begin like what was typed, with a description after a tab.
type naming func(o *operator, ctx context.Context, typed string) ([]string, error)

// flagNames and argNames say what names a flag takes, and the first argument of a
// command.
var (
	flagNames = map[string]naming{"node": (*operator).nameNodes, "to": (*operator).nameNodes, "parent": (*operator).nameMementos}
	argNames  = map[string]naming{
		"forget": (*operator).nameGone,
		"list":   (*operator).nameTypes, "watch": (*operator).nameTypes,
		"get": (*operator).nameMementos, "put": (*operator).nameMementos, "delete": (*operator).nameMementos,
	}
)

// takesFile are the commands of which an argument is a file.
var takesFile = map[string]bool{"put": true, "token": true, "batch": true, "export": true, "import": true}

const (
	// completeWithin is how long somebody who has pressed the tab key waits at most.
	completeWithin = time.Second
	// maxCompletions is how many ids are worth showing.
	maxCompletions = "200"
)

// completesWords has a shell complete the known words of a command.
func completesWords(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if words, ok := flagWords[f.Name]; ok {
			completesFlag(cmd, f.Name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	})
	if words, ok := argWords[cmd.Name()]; ok {
		cmd.ValidArgsFunction = firstArg(cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	if cmd.ValidArgsFunction == nil && !takesFile[cmd.Name()] {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

// completesNames has a shell complete the names that a command takes, from the node
// that the command would ask.
func (o *operator) completesNames(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if find, ok := flagNames[f.Name]; ok {
			completesFlag(cmd, f.Name, o.completion(find))
		}
	})
	if find, ok := argNames[cmd.Name()]; ok {
		cmd.ValidArgsFunction = firstArg(o.completion(find))
	}
}

// completesFlag is [cobra.Command.RegisterFlagCompletionFunc] for a flag that is there
// and has no completion yet; it fails in no other case.
func completesFlag(cmd *cobra.Command, name string, complete cobra.CompletionFunc) {
	if _, taken := cmd.GetFlagCompletionFunc(name); !taken {
		_ = cmd.RegisterFlagCompletionFunc(name, complete)
	}
}

// firstArg completes a command's first argument, and leaves what follows to the
// shell if it is a file.
func firstArg(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0:
			return complete(cmd, args, typed)
		case takesFile[cmd.Name()]:
			return nil, cobra.ShellCompDirectiveDefault
		default:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// completion asks a node for names. It says nothing when none answers: somebody is
// in the middle of a line.
func (o *operator) completion(find naming) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		err := fromEnvironment(cmd)
		if err == nil {
			o.shown, err = o.files.read()
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		found, err := find(o, ctx, typed)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found = slices.DeleteFunc(found, func(name string) bool { return printable(name) != name || strings.Contains(name, "\n") })
		directive := cobra.ShellCompDirectiveNoFileComp
		for _, name := range found {
			if strings.HasSuffix(name, "/") { // an id is to follow
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return found, directive
	}
}

// fetch reads what a path of the API tells.
func (o *operator) fetch(ctx context.Context, path string, query url.Values, v any) error {
	answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return err
	}
	return answer.Decode(v)
}

// nameNodes names the nodes that are in the plane.
func (o *operator) nameNodes(ctx context.Context, typed string) ([]string, error) {
	var plane wire.Plane
	if err := o.fetch(ctx, wire.PathPlane, nil, &plane); err != nil {
		return nil, err
	}
	var found []string
	for i := range plane.Nodes {
		if n := &plane.Nodes[i]; strings.HasPrefix(n.ID, typed) {
			found = append(found, n.ID+"\t"+n.State.String())
		}
	}
	return found, nil
}

// nameGone names the nodes that have left the plane.
func (o *operator) nameGone(ctx context.Context, typed string) ([]string, error) {
	var plane wire.Plane
	if err := o.fetch(ctx, wire.PathPlane, nil, &plane); err != nil {
		return nil, err
	}
	var found []string
	for i := range plane.Left {
		if n := &plane.Left[i]; strings.HasPrefix(n.ID, typed) {
			found = append(found, n.ID+"\t"+string(n.How))
		}
	}
	return found, nil
}

// nameTypes names the types of the mementos.
func (o *operator) nameTypes(ctx context.Context, typed string) ([]string, error) {
	var answer wire.Types
	if err := o.fetch(ctx, wire.PathTypes, nil, &answer); err != nil {
		return nil, err
	}
	var found []string
	for _, t := range answer.Types {
		if strings.HasPrefix(t, typed) {
			found = append(found, t)
		}
	}
	return found, nil
}

// nameMementos names the types, with a slash, until one is typed, and then its mementos.
func (o *operator) nameMementos(ctx context.Context, typed string) ([]string, error) {
	typ, id, inType := strings.Cut(typed, "/")
	if !inType {
		found, err := o.nameTypes(ctx, typed)
		for i := range found {
			found[i] += "/"
		}
		return found, err
	}
	var page wire.List
	query := url.Values{"type": {typ}, "limit": {maxCompletions}}
	if id != "" {
		query.Set("prefix", id)
	}
	if err := o.fetch(ctx, wire.PathMementos, query, &page); err != nil {
		return nil, err
	}
	var found []string
	for i := range page.Items {
		found = append(found, page.Items[i].Type+"/"+page.Items[i].ID)
	}
	return found, nil
}
