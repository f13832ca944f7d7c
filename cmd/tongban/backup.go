package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tongban/appliance"
	"tongban/node/exit"
)

func newBackup(a *app) *cobra.Command {
	var o appliance.BackupOptions
	var passphrase string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write one encrypted file of all databases of the division",
		Long: `Asks the running node for a consistent copy of the whole division, and writes it to
FILE, encrypted with a passphrase (age). The file and the passphrase are all that a
restore needs; without the passphrase nobody can read the file, you included. The
passphrase is asked for twice, or read from a file; never given as an argument.`,
		Example: `  tongban backup /media/backup/511602.backup
  tongban backup --passphrase-file /etc/tongban/backup.pass --force /media/backup/511602.backup
  tongban backup verify /media/backup/511602.backup`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Config, _, err = a.config(); err != nil {
				return err
			}
			if o.Passphrase, err = a.passphrase(passphrase, true); err != nil {
				return err
			}
			o.File = args[0]
			tell, end := a.byteBar("backing up")
			if o.Progress = tell; tell != nil {
				tell(0, 0) // The node copies everything before the first byte comes.
			}
			result, err := appliance.Backup(cmd.Context(), o)
			end()
			if err != nil {
				return err
			}
			return a.printBackup(result)
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "replace FILE if it is there")
	addPassphrase(cmd, &passphrase)
	cmd.AddCommand(newBackupVerify(a))
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printBackup(r appliance.BackupResult) error {
	behind := r.Manifest.Behind()
	if a.asJSON {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "%s: %d databases, %d rows, %s encrypted\n", r.File, len(r.Manifest.Databases), r.Rows, size(uint64(r.Bytes)))
		fmt.Fprintf(a.out, "sha256 %s\nCheck it: tongban backup verify %s\n", r.SHA256, r.File)
	}
	if r.Unnoted != "" {
		fmt.Fprintln(a.err, a.paint(yellow, "! the backup is good, but the division could not note it: "+clean(r.Unnoted)))
	}
	if len(behind) > 0 {
		fmt.Fprintln(a.err, a.paint(yellow, fmt.Sprintf("! %d databases had no leader to ask, and may lack the newest changes", len(behind))))
	}
	if r.Unnoted != "" || len(behind) > 0 {
		return &exit.Error{Code: exit.Degraded, Err: &quiet{}}
	}
	return nil
}

func newBackupVerify(a *app) *cobra.Command {
	var passphrase string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Decrypt a backup and check everything in it",
		Long: `Decrypts the whole file, unpacks it into a folder below $TMPDIR that it removes again,
and checks each database: its hash, SQLite's structure, foreign keys, rows, the chain of
the audit, the feeds. Nothing is restored.`,
		Example: "  tongban backup verify /media/backup/511602.backup",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := a.passphrase(passphrase, false)
			if err != nil {
				return err
			}
			tell, end := a.byteBar("verifying")
			c, err := appliance.VerifyBackup(cmd.Context(), args[0], secret, time.Now(), tell)
			end()
			if err != nil {
				return err
			}
			if a.asJSON {
				err = a.printJSON(c)
			} else {
				a.printContents(c)
				for _, f := range c.Faults {
					fmt.Fprintln(a.out, a.paint(red, "! "+clean(f)))
				}
				if len(c.Faults) == 0 {
					fmt.Fprintln(a.out, a.paint(green, "The backup is whole."))
				}
			}
			if err == nil && len(c.Faults) > 0 {
				err = &exit.Error{Code: exit.Failed, Err: &quiet{}}
			}
			return err
		},
	}
	addPassphrase(cmd, &passphrase)
	return a.addJSON(cmd)
}

// printContents shows what a backup holds.
func (a *app) printContents(c appliance.Contents) {
	m := c.Manifest
	fmt.Fprintf(a.out, "%s: %s %s, %s\n", c.File, m.Division.Level, m.Division.Code, clean(m.Division.Full))
	fmt.Fprintf(a.out, "made %s, %s old, on node %s by tongban %s\n", m.At.Local().Format("2006-01-02 15:04:05 MST"), c.Age, m.Node, clean(m.Version))
	fmt.Fprintf(a.out, "%d databases, %d rows, %s (%s encrypted)\n", len(m.Databases), c.Rows, size(uint64(m.Size())), size(uint64(c.Bytes)))
	if behind := m.Behind(); len(behind) > 0 {
		fmt.Fprintln(a.out, a.paint(yellow, fmt.Sprintf("! %d databases may lack the newest changes: they had no leader when it was made", len(behind))))
	}
}
