// Shell completion: fixed words, and names that are fetched from a node.

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
	"github.com/coordinator-ha/coordinator/modes"
)

// modeWords are the modes as they are typed.
var modeWords = modeNames()

// levelWords are the log levels.
var levelWords = []string{"debug", "info", "warn", "error"}

// modeNames returns the names of all modes.
func modeNames() []string {
	var names []string
	for _, m := range modes.Modes() {
		names = append(names, m.String())
	}
	return names
}

// flagWords lists the values of flags that take one of a few words.
var flagWords = map[string][]string{
	"mode":           modeWords,
	"auto-standby":   {"hot", "cold"},
	"persist":        {"auto", "rebind", "clean", "disabled"},
	"rebind-failure": {"continue", "fail_at_end", "fail_fast"},
	"log-level":      levelWords,
	"log-format":     {"auto", "console", "json"},
	"output":         {"table", "json", "yaml"},
}

// argWords lists the arguments of commands that take one of a few words.
var argWords = map[string][]string{
	"mode":      modeWords,
	"log-level": levelWords,
	"health": {
		"live", "ready", "master", "standby", "hot_standby", "hot_backup", "hot", "readable", "promotable", "writable",
	},
}

// nameSource finds names that begin with what was typed; a description may follow a tab.
type nameSource func(o *operator, ctx context.Context, typed string) ([]string, error)

// flagNames and argNames say which names a flag takes, and the first argument of a command.
var (
	flagNames = map[string]nameSource{"node": (*operator).presentNodes, "to": (*operator).presentNodes, "parent": (*operator).mementoNames}
	argNames  = map[string]nameSource{
		"forget": (*operator).departedNodes,
		"list":   (*operator).mementoTypes, "watch": (*operator).mementoTypes,
		"get": (*operator).mementoNames, "put": (*operator).mementoNames, "delete": (*operator).mementoNames,
	}
)

// takesFile lists the commands that take a file as an argument.
var takesFile = map[string]bool{"put": true, "token": true, "batch": true, "export": true, "import": true}

const (
	// completeWithin limits how long the user waits after pressing the tab key.
	completeWithin = time.Second
	// maxCompletions limits how many ids are offered.
	maxCompletions = "200"
)

// completeWords registers completion of the fixed words of a command.
func completeWords(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if words, ok := flagWords[f.Name]; ok {
			completeFlag(cmd, f.Name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	})
	if words, ok := argWords[cmd.Name()]; ok {
		cmd.ValidArgsFunction = firstArg(cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	if cmd.ValidArgsFunction == nil && !takesFile[cmd.Name()] {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

// completeNames registers completion of the names that a command takes. They are fetched
// from the node that the command would ask.
func (o *operator) completeNames(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if find, ok := flagNames[f.Name]; ok {
			completeFlag(cmd, f.Name, o.completion(find))
		}
	})
	if find, ok := argNames[cmd.Name()]; ok {
		cmd.ValidArgsFunction = firstArg(o.completion(find))
	}
}

// completeFlag registers completion for a flag, if the command has it and no completion for
// it yet. That is the only error that [cobra.Command.RegisterFlagCompletionFunc] could
// return.
func completeFlag(cmd *cobra.Command, name string, complete cobra.CompletionFunc) {
	if _, taken := cmd.GetFlagCompletionFunc(name); !taken {
		_ = cmd.RegisterFlagCompletionFunc(name, complete)
	}
}

// firstArg completes a command's first argument and leaves the next to the shell if it is a
// file.
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

// completion fetches names from a node. It stays silent if no node answers, since the user
// is in the middle of a line.
func (o *operator) completion(find nameSource) cobra.CompletionFunc {
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
			if strings.HasSuffix(name, "/") { // an id follows
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return found, directive
	}
}

// fetch reads a path of the API.
func (o *operator) fetch(ctx context.Context, path string, query url.Values, v any) error {
	answer, err := o.do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return err
	}
	return answer.Decode(v)
}

// presentNodes names the nodes that are in the plane.
func (o *operator) presentNodes(ctx context.Context, typed string) ([]string, error) {
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

// departedNodes names the nodes that have left the plane.
func (o *operator) departedNodes(ctx context.Context, typed string) ([]string, error) {
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

// mementoTypes names the types of the mementos.
func (o *operator) mementoTypes(ctx context.Context, typed string) ([]string, error) {
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

// mementoNames names the types, each with a slash, until a type is typed, and then the
// mementos of that type.
func (o *operator) mementoNames(ctx context.Context, typed string) ([]string, error) {
	typ, id, inType := strings.Cut(typed, "/")
	if !inType {
		found, err := o.mementoTypes(ctx, typed)
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
