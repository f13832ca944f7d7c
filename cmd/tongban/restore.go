package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node/exit"
	"tongban/replication"
)

func newRestore(a *app) *cobra.Command {
	var o appliance.RestoreOptions
	var passphrase, id string
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore FILE --dir DIR",
		Short: "Make a folder the first node of the division in a backup",
		Long: `Shows what the backup holds and how old it is, asks, checks all of it, and makes DIR
(which must be absent or empty) a node that serves it. Nothing of the old machines is
needed. The old boxes cannot come back: further boxes join the new node with a token.
Sessions and join tokens of the backup are void; accounts, items and cases are as they
were.`,
		Example: `  tongban restore /media/backup/511602.backup --dir /srv/tongban
  tongban restore 511602.backup --dir /srv/tongban --expect 511602 --passphrase-file pass --yes`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Dir == "" {
				return exit.Usagef("say where: tongban restore %s --dir DIR", args[0])
			}
			if a.asJSON && !yes {
				return exit.Usagef("--json asks nothing: add --yes")
			}
			if o.Passphrase, err = a.passphrase(passphrase, false); err != nil {
				return err
			}
			o.File, o.Node = args[0], replication.NodeID(id)
			o.Confirm = func(c appliance.Contents) bool { return a.confirmRestore(c, o.Dir, yes) }
			tell, end := a.byteBar("restoring")
			o.Progress = tell
			r, err := appliance.Restore(cmd.Context(), o)
			end()
			if errors.Is(err, appliance.ErrDeclined) {
				return exit.Errorf(exit.Failed, "nothing was restored")
			}
			if err != nil {
				return err
			}
			return a.printRestored(r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder to make")
	f.StringVar(&id, "node", "", "name of the node (default: the next that the division never had)")
	f.StringVar(&o.Expect, "expect", "", "code of the division that the backup must be of")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	addPassphrase(cmd, &passphrase)
	addAddresses(cmd, &o.Addresses)
	return a.addJSON(cmd)
}

func (a *app) confirmRestore(c appliance.Contents, dir string, yes bool) bool {
	if !a.asJSON {
		a.printContents(c)
	}
	if yes {
		return true
	}
	fmt.Fprintf(a.err, "Restore it into %s? Type yes: ", dir)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

func (a *app) printRestored(r appliance.RestoreResult) error {
	if a.asJSON {
		return a.printJSON(r)
	}
	fmt.Fprintf(a.out, `
Restored as node %s; configuration %s.

Next:
  1. Start it:                 tongban run --config %s
  2. A token for each box:     tongban token --config %s
  3. On each further box:      tongban join TOKEN --dir DIR
The people's passwords are those of the backup; everybody signs in again.
`, r.Node, r.File, r.File, r.File)
	return nil
}
