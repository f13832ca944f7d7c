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
		Short: "Measure a district of three nodes on this machine",
		Long: `Starts the district of "tongban demo" and measures it: creating tenants, importing items,
applications through HTTP, a node's restart, and what idle nodes need. It takes about two
minutes, prints tables in Markdown, and leaves nothing behind.`,
		Example: "  tongban bench\n  tongban bench --items items.csv --profile leader.pprof",
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
	f.StringVar(&o.Items, "items", "", "CSV file of items (default: the demonstration catalog)")
	f.DurationVar(&o.For, "for", 0, "duration of each load (default 5s)")
	f.IntSliceVar(&o.Clients, "clients", nil, "how many clients at once, one load each (default 1,16,64)")
	f.BoolVar(&o.Keep, "keep", false, "leave the folder with data and logs")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile of the leader under load to this file")
	return a.addJSON(cmd)
}
