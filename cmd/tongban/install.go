package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tongban/appliance"
)

func newInstall(a *app) *cobra.Command {
	var o appliance.InstallOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make this box ready for a node: program, user, folders, service",
		Long: `Copies the program to /usr/local/bin, makes the system user tongban and its folder
/var/lib/tongban, and writes a hardened systemd unit. Starts nothing; may be repeated.
With --root it writes into the tree of an image, runs no command and touches nothing
else: the user and folder are made at the image's first boot.`,
		Example: "  sudo tongban install\n  tongban install --dry-run\n  tongban install --root /mnt/image",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			o.Say = a.out
			if err := appliance.Install(o); err != nil {
				return err
			}
			if !o.DryRun {
				fmt.Fprint(a.out, "\n"+appliance.NextSteps())
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Root, "root", "", "root folder of an image")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only print what would be done")
	return cmd
}
