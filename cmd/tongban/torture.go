package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tongban/internal/demo"
	"tongban/internal/torture"
	"tongban/internal/torture/divisions"
	"tongban/node/exit"
)

func newTorture(a *app) *cobra.Command {
	var o torture.Options
	var suite string
	cmd := &cobra.Command{
		Use:   "torture",
		Short: "Run three nodes, or four levels of divisions, under faults, and judge what clients were told",
		Long: `Starts a division of three processes on this machine, lets clients write and read through
the SQL door, and meanwhile kills and stops processes, cuts, slows and breaks the lines
between them, cuts their power, fills their disks and lets them fail, as the seed says.
Then everything is made whole, and the histories are judged: every acknowledged change must
be on every replica exactly once, and what was read must be linearizable.

Power cuts, full and failing disks need root: each node then has a file system of its own,
mounted through a loop device. What cannot be done here is named, with the reason. The exit code is
1 when anything is wrong; then histories, logs and data are left behind.

With --suite federation it starts four levels of divisions as nine processes instead. People
apply in a district and lodge cases for it in another province, while lines are cut, swallow
packets, and one is slow all along, processes are killed at every level, divisions restart in
any order, and some are restored from an older backup. In the end every acknowledged case
must be there once, and counted once at every level.`,
		Example: "  tongban torture\n  tongban torture --suite federation --duration 120s --seed 7\n  tongban torture --duration 5m --seed 7\n  tongban torture --faults kill,partition --network namespaces --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Duration < 0 {
				return exit.Usagef("--duration is a time such as 60s")
			}
			switch suite {
			case "replication":
			case "federation":
				for _, name := range []string{"faults", "network", "no-disks", "env"} {
					if cmd.Flags().Changed(name) {
						return exit.Usagef("--%s is for --suite replication", name)
					}
				}
				return a.tortureDivisions(cmd, o)
			default:
				return exit.Usagef("--suite is replication or federation")
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
			return a.printVerdict(r, r.Text(), r.OK())
		},
	}
	f := cmd.Flags()
	f.StringVar(&suite, "suite", "replication", "replication: one division of three nodes; federation: four levels of divisions")
	f.DurationVar(&o.Duration, "duration", time.Minute, "how long there are load and faults")
	f.Uint64Var(&o.Seed, "seed", 0, "what happens when, and to whom (default a random one, which is printed)")
	f.StringVar(&o.Binary, "binary", "", "the program that the nodes run (default this one)")
	f.StringSliceVar(&o.Faults, "faults", nil, "only these kinds: "+strings.Join(torture.Kinds(), ", ")+" (default all)")
	f.StringVar(&o.Network, "network", torture.Loopback, "loopback (relays), or namespaces (network namespaces; root)")
	f.BoolVar(&o.NoDisks, "no-disks", false, "no file system for each node: no power cuts, no full or failing disks")
	f.StringArrayVar(&o.Environment, "env", nil, "NAME=value for the nodes' processes")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with histories, logs and data")
	return a.addJSON(cmd)
}

// tortureDivisions is the suite federation.
func (a *app) tortureDivisions(cmd *cobra.Command, o torture.Options) error {
	r, err := divisions.Run(cmd.Context(), divisions.Options{
		Duration: o.Duration, Seed: o.Seed, Binary: o.Binary, Keep: o.Keep, Progress: demo.NewProgress(a.err)})
	if err != nil {
		return err
	}
	return a.printVerdict(r, r.Text(), r.OK())
}

// printVerdict prints a report, and makes the exit code of it.
func (a *app) printVerdict(r any, text string, ok bool) error {
	var err error
	if a.asJSON {
		err = a.printJSON(r)
	} else {
		fmt.Fprint(a.out, text)
	}
	if err == nil && !ok {
		err = &exit.Error{Code: exit.Failed, Err: &quiet{}}
	}
	return err
}
