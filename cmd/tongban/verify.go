package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node/exit"
	"tongban/replication"
)

func newVerify(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR [DIR...]",
		Short: "Check the databases of stopped nodes, and compare their replicas",
		Long: `Reads the folders of stopped nodes: each replica must be whole in itself (SQLite's
structure, foreign keys, the chain of the audit, the feeds), and replicas that have
applied the same entries must hold the same rows. A running node is refused. The exit
code is 1 when something contradicts, 3 when a replica could not be compared.`,
		Example: "  tongban verify /srv/tongban\n  tongban verify /mnt/n1 /mnt/n2 /mnt/n3 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exit.Usagef("say which folders: tongban verify DIR [DIR...]")
			}
			tell := func(id replication.DatabaseID) {
				if terminal(a.err) {
					fmt.Fprintf(a.err, "\r\x1b[K%s …", id)
				}
			}
			v, err := appliance.Verify(cmd.Context(), args, tell)
			if terminal(a.err) {
				fmt.Fprint(a.err, "\r\x1b[K")
			}
			if err != nil {
				return err
			}
			if a.asJSON {
				err = a.printJSON(v)
			} else {
				fmt.Fprint(a.out, v.Text())
			}
			if err == nil && v.ExitCode() != exit.OK {
				err = &exit.Error{Code: v.ExitCode(), Err: &quiet{}}
			}
			return err
		},
	}
	return a.addJSON(cmd)
}
