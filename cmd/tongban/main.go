// Command tongban is the whole program: it makes, runs and looks after a node of a
// division. Each verb is a file of this folder.
package main

import "os"

// verbs are the commands, in the order of the help.
var verbs = []verb{
	newInit,
	newRun,
	newStatus,
	newToken,
	newJoin,
	newNode, newChild, newEnrol, newParent, newQueue,
	newTenant, newDB,
	newItems, newBasic,
	newAccount,
	newTOTP,
	newInstall,
	newDoctor,
	newBackup,
	newRestore,
	newVerify,
	newConfig,
	newVersion,
	newDemo,
	newBench, newTorture,
}

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, verbs...)) }
