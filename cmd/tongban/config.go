package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	var origin bool
	show := a.addJSON(a.addDir(&cobra.Command{
		Use:     "show",
		Short:   "Show the configuration that holds",
		Example: "  tongban config show --origin",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, settings, err := a.config()
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(settings)
			}
			for _, s := range settings {
				fmt.Fprintf(a.out, "%s = %q", s.Key, s.Value)
				if origin {
					fmt.Fprintf(a.out, "   # from %s; %s", s.Origin, s.Bound)
				}
				fmt.Fprintln(a.out)
			}
			return nil
		},
	}))
	show.Flags().BoolVar(&origin, "origin", false, "say where each value comes from and what it may be")
	return group("config", "Show the configuration", show)
}
