package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"tongban/node/exit"
)

// app is what every verb gets: the streams, and the flags that say which node is meant.
type app struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	file   string // --config
	dir    string // --dir
	asJSON bool   // --json, of verbs that read.
}

// verb makes one command.
type verb func(a *app) *cobra.Command

// execute runs the command line and returns the exit code. An interrupt or SIGTERM ends
// the command's context.
func execute(args []string, in io.Reader, out, errOut io.Writer, verbs ...verb) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: in, out: out, err: errOut}
	root := newRoot(a, verbs)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var silent *quiet
	if err != nil && !errors.As(err, &silent) {
		fmt.Fprintln(errOut, "tongban: "+oneLine(err))
	}
	return exit.Code(err)
}

func newRoot(a *app, verbs []verb) *cobra.Command {
	root := &cobra.Command{
		Use:   "tongban",
		Short: "Government services of one division, on its own boxes",
		Long: `tongban (通办, "handled anywhere") serves the government services of one division on
the division's own boxes. Every department is a tenant with its own database, which is
kept identical on all boxes.

Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 not found, 5 denied, 75 try again
later, 78 the configuration or data folder is wrong.`,
		Example: `  tongban init --division 511602 --dir /srv/tongban
  tongban run --config /srv/tongban/tongban.toml
  tongban status`,
		SilenceUsage: true, SilenceErrors: true,
		SuggestionsMinimumDistance: 2,
		// Without Args and RunE, cobra would print help for an unknown verb and succeed.
		Args: func(cmd *cobra.Command, args []string) error { return unknownVerb(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Usagef("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&a.file, "config", "", "configuration file of the node")
	for _, v := range verbs {
		root.AddCommand(v(a))
	}
	return root
}

// group is a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error { return unknownVerb(cmd, args) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(below...)
	var lines []string
	for _, c := range below {
		lines = append(lines, c.Example)
	}
	cmd.Example = strings.Join(lines, "\n")
	return cmd
}

func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q of %s", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	} else {
		text += fmt.Sprintf("; see `%s --help`", cmd.CommandPath())
	}
	return exit.Usagef("%s", text)
}

// noArgs, exactArgs refuse with a sentence and exit code 2.
func noArgs(cmd *cobra.Command, args []string) error { return exactArgs()(cmd, args) }

func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return exit.Usagef("%s is missing; see `%s --help`", names[len(args)], cmd.CommandPath())
		case len(args) > len(names):
			return exit.Usagef("%q is one argument too many; see `%s --help`", args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// quiet is an error that only sets the exit code: what is wrong was shown already.
type quiet struct{}

func (*quiet) Error() string { return "see above" }

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
