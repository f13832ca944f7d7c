package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"tongban/node"
)

func newVersion(a *app) *cobra.Command {
	return a.addJSON(&cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  tongban version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.asJSON {
				return a.printJSON(map[string]string{"version": node.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			fmt.Fprintf(a.out, "tongban %s (%s, %s/%s)\n", node.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	})
}
