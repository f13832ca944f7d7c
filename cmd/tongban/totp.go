package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/spf13/cobra"

	"tongban/node/exit"
)

func newTOTP(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "totp SECRET",
		Short: "Print the current sign-in code of an authenticator's secret",
		Long: `Prints the six digits that an authenticator app would show for a secret (RFC 6238). For
trying things out and for scripts; the secret of a real account belongs on a telephone.`,
		Example: "  tongban totp JBSWY3DPEHPK3PXP",
		Args:    exactArgs("the secret"),
		RunE: func(_ *cobra.Command, args []string) error {
			code, err := totp.GenerateCode(strings.ReplaceAll(args[0], " ", ""), time.Now())
			if err != nil {
				return exit.Usagef("this is no secret of an authenticator (letters A-Z and digits 2-7)")
			}
			fmt.Fprintln(a.out, code)
			return nil
		},
	}
}
