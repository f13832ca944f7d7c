package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tongban/internal/torture"
	"tongban/node/exit"
)

func newTorture(a *app) *cobra.Command {
	var o torture.Options
	cmd := &cobra.Command{
		Use:   "torture",
		Short: "Run three nodes under faults, and judge what their clients were told",
		Long: `Starts a division of three processes on this machine, lets clients write and read through
the SQL door, and meanwhile kills and stops processes, cuts, slows and breaks the lines
between them, cuts their power, fills their disks and lets them fail, as the seed says.
Then everything is made whole, and the histories are judged: every acknowledged change must
be on every replica exactly once, and what was read must be linearizable.

Power cuts, full and failing disks need root: each node then has a file system of its own,
mounted through a loop device. What cannot be done here is named, with the reason. The exit code is
1 when anything is wrong; then histories, logs and data are left behind.`,
		Example: "  tongban torture\n  tongban torture --duration 5m --seed 7\n  tongban torture --faults kill,partition --network namespaces --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Duration < 0 {
				return exit.Usagef("--duration is a time such as 60s")
			}
			var mu sync.Mutex
			o.Say = func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(a.err, format+"\n", args...)
			}
			r, err := torture.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.asJSON {
				err = a.printJSON(r)
			} else {
				fmt.Fprint(a.out, r.Text())
			}
			if err == nil && !r.OK() {
				err = &exit.Error{Code: exit.Failed, Err: &quiet{}}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.Duration, "duration", time.Minute, "how long the nodes are under load and faults")
	f.Uint64Var(&o.Seed, "seed", 0, "what happens when, and to whom (default a random one, which is printed)")
	f.StringVar(&o.Binary, "binary", "", "the program that the nodes run (default this one)")
	f.StringSliceVar(&o.Faults, "faults", nil, "only these kinds: "+strings.Join(torture.Kinds(), ", ")+" (default all)")
	f.StringVar(&o.Network, "network", torture.Loopback, "loopback (relays), or namespaces (network namespaces; root)")
	f.BoolVar(&o.NoDisks, "no-disks", false, "no file system for each node: no power cuts, no full or failing disks")
	f.StringArrayVar(&o.Environment, "env", nil, "NAME=value for the nodes' processes")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with histories, logs and data")
	return a.addJSON(cmd)
}
