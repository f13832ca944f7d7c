package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tongban/internal/demo"
	"tongban/node/exit"
	"tongban/service"
)

func newDemo(a *app) *cobra.Command {
	var o demo.Options
	var script, noBrowser bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run four levels of divisions on this machine, to try",
		Long: `Starts seven divisions as nine processes of this program on loopback, in a temporary
folder: the nation, Sichuan, Guang'an city and its Guang'an District (511602) of three
nodes, and Zhejiang, Hangzhou and Xihu (330106). Each is enrolled with the one above over
a line that can be cut. Opens one page with the live tree, where lines can be cut and
boxes killed, and shows accounts once. Ctrl-C stops everything and removes the folder.

With --script it goes through everything by itself: import, repair, load, the death of a
node, its return, the count at all levels, a cut line, what is served and lodged
meanwhile, the heal, backup, restore, and a count of what was lost. With --json the last
line of standard output is the outcome as one JSON object. It exits with 1 when anything
was lost, doubled, differs, or was not as promised.`,
		Example: "  tongban demo\n  tongban demo --items items.csv\n  tongban demo --script --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = demo.NewProgress(a.err)
			if !script {
				if a.asJSON {
					return exit.Usagef("--json goes with --script")
				}
				if cmd.Flags().Changed("cases") {
					return exit.Usagef("--cases goes with --script")
				}
				o.Open = !noBrowser
				return itemsError(demo.Show(cmd.Context(), a.out, o))
			}
			if noBrowser {
				return exit.Usagef("--no-browser goes without --script, which opens nothing")
			}
			sum, err := demo.Script(cmd.Context(), o)
			a.printOutcome(sum)
			if err == nil {
				err = sum.Err()
			}
			return itemsError(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Items, "items", "", "CSV file of items (default: the demonstration catalog)")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with data and logs")
	f.BoolVar(&script, "script", false, "go through everything without people, and count what was lost")
	f.IntVar(&o.Cases, "cases", demo.DefaultCases, "applications that --script sends, before the line is cut and again while it is")
	f.BoolVar(&noBrowser, "no-browser", false, "print the page's address and open nothing")
	return a.addJSON(cmd)
}

// itemsError says in words why a file of items was refused.
func itemsError(err error) error {
	var refusal *service.Error
	if errors.As(err, &refusal) {
		return exit.Errorf(exit.Failed, "the items cannot be read: %s", explain(refusal))
	}
	return err
}

// printOutcome prints the outcome of a scripted run, on one line of JSON or for people.
func (a *app) printOutcome(s demo.Summary) {
	if a.asJSON {
		line, err := json.Marshal(s)
		if err == nil {
			fmt.Fprintf(a.out, "%s\n", line)
		}
		return
	}
	fmt.Fprint(a.out, s)
}
