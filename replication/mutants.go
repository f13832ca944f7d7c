package replication

// safeguard names one safeguard of this package that a mutant lacks: a program that is
// wrong on purpose, to show that a suite of tests would notice. Mutants exist only in
// binaries built with the tag "mutants" (see Mutants); without it every question for one
// is a constant false and its code is not in the program.
type safeguard string

// The prefix lets a test look for them in a program.
const (
	baseCheck         safeguard = "mutant:no-base-check"
	proposeFirst      safeguard = "mutant:commit-before-propose"
	ownEntryOnly      safeguard = "mutant:commit-any-entry"
	commitFirst       safeguard = "mutant:acknowledge-before-commit"
	appliedWithEntry  safeguard = "mutant:skip-the-applied-index"
	leadershipOfReads safeguard = "mutant:reads-without-leadership"
	promiseKept       safeguard = "mutant:vote-within-the-promise"
	answerOfNow       safeguard = "mutant:take-an-older-answer"
	synchronousNormal safeguard = "mutant:synchronous-off"
	noSecondFsync     safeguard = "mutant:retry-a-failed-fsync"
	checkpointFirst   safeguard = "mutant:truncate-the-log-too-far"
)
