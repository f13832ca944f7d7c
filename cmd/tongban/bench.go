package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/internal/bench"
	"tongban/internal/demo"
)

func newBench(a *app) *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a district of three nodes, and lines between divisions, on this machine",
		Long: `Starts the district of "tongban demo" and measures it: creating tenants, importing items,
applications through HTTP, a node's restart, and what idle nodes need. That takes about two
minutes. Then starts a city with two districts and measures the lines between them: what
crosses one while nothing happens, how fast one drains after an outage, how soon the city
counts a case, and a first sync over a slow line. That takes about ten minutes.
Prints tables in Markdown, and leaves nothing behind.`,
		Example: "  tongban bench\n  tongban bench --items items.csv --profile leader.pprof\n  tongban bench --only federation --seed 7",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = demo.NewProgress(a.err)
			r, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return itemsError(err)
			}
			if a.asJSON {
				return a.printJSON(r)
			}
			fmt.Fprint(a.out, r)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Only, "only", "", "measure only this: district or federation")
	f.DurationVar(&o.IdleLine, "idle", 0, "how long idle lines are watched (default 2m0s)")
	f.IntVar(&o.Rows, "rows", 0, "how many rows a line drains (default 20000)")
	f.Uint64Var(&o.Seed, "seed", 0, "of the slow line's losses (default a random one)")
	f.StringVar(&o.Items, "items", "", "CSV file of items (default: the demonstration catalog)")
	f.DurationVar(&o.For, "for", 0, "duration of each load (default 5s)")
	f.IntSliceVar(&o.Clients, "clients", nil, "how many clients at once, one load each (default 1,16,64)")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with data and logs")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile to this file: of the leader under load, or, with --only federation, of the parent in a drain")
	cmd.AddCommand(newBenchReplication(a), newBenchIdle(a))
	return a.addJSON(cmd)
}
