package federation

// Mutant names a safeguard of the feeds that is switched off: a simulation that does not
// notice proves nothing. internal/repo sees to it that only internal/simulate names one.
type Mutant string

// Mutants.
const (
	MutantNoTokens Mutant = "no tokens" // Whoever knows the epoch may send rows.
	MutantGap      Mutant = "gap"       // Likewise, and rows are taken though some before them are missing.
	MutantNoProof  Mutant = "no proof"  // What arrives is taken for what was sent just now.
	MutantNoSweep  Mutant = "no sweep"  // What a restored neighbour lacks stays.
	MutantNoEpoch  Mutant = "no epoch"  // A restored neighbour goes on where it was.
	MutantEarly    Mutant = "early"     // The answer goes out before the commit, which a crash prevents at times.
	MutantApart    Mutant = "apart"     // Rows and cursor move in two transactions, with a crash between at times.
)

// crashEvery is how often the crash of a mutant happens: at every so many requests.
const crashEvery = 7

func (f *Federation) mutates(m Mutant) bool { return f.o.Mutant == m }
