package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tongban/node/exit"
)

// minPassphrase keeps people from passphrases that scrypt cannot save.
const minPassphrase = 12

func addPassphrase(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", "file whose first line is the passphrase (default: $TONGBAN_PASSPHRASE_FILE, or it is asked for)")
}

// passphrase reads the passphrase from a file, or asks for it. A new one is asked for
// twice and must be long enough.
func (a *app) passphrase(file string, fresh bool) (string, error) {
	if file == "" {
		file = os.Getenv("TONGBAN_PASSPHRASE_FILE")
	}
	secret, err := a.readPassphrase(file)
	if err != nil {
		return "", err
	}
	if fresh && len(secret) < minPassphrase {
		return "", exit.Usagef("a passphrase must have at least %d characters; take five or six words", minPassphrase)
	}
	if !fresh || file != "" {
		return secret, nil
	}
	again, err := a.askSecret("Once more: ")
	if err == nil && again != secret {
		err = exit.Usagef("the two passphrases differ; nothing was written")
	}
	return secret, err
}

func (a *app) readPassphrase(file string) (string, error) {
	if file == "" {
		return a.askSecret("Passphrase of the backup: ")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", exit.Usagef("read the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", exit.Usagef("the first line of %s is empty; it must be the passphrase", file)
	}
	return line, nil
}

// interactive reports whether somebody at a terminal can be asked.
func (a *app) interactive() bool {
	in, ok := a.in.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// askSecret asks on the terminal, without showing what is typed.
func (a *app) askSecret(question string) (string, error) {
	if !a.interactive() {
		return "", exit.Usagef("there is no terminal to ask for the passphrase: name a file with --passphrase-file or $TONGBAN_PASSPHRASE_FILE")
	}
	fmt.Fprint(a.err, question)
	secret, err := term.ReadPassword(int(a.in.(*os.File).Fd()))
	fmt.Fprintln(a.err)
	if err != nil {
		return "", exit.Usagef("read the passphrase: %w", err)
	}
	return string(secret), nil
}
