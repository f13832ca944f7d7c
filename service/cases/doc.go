// Package cases handles cases (办件): a citizen applies for an item, gets a receipt number
// and a secret, and follows the case; officers of the department receive, accept, have
// corrected, decide, close and deliver it.
//
// What can happen to a case is one table, [Table]; how long each step may take is counted
// on the working-day calendar by pure functions, [Case.Clocks].
//
// # Guarantees
//
//   - A case moves only along the table. Each move is an event that carries the hash of
//     the case's event before it; [Verify] walks them all.
//   - A department that neither asks for corrections nor refuses within five working days
//     has accepted, as of the day of receipt (Administrative Licensing Law, art. 32): a
//     worker on the leader does it, and after that moment nobody can do anything else.
//   - The statutory clock stops in a special procedure only (art. 45), and the applicant
//     is told in writing which one and for how long.
//   - Two officers who decide at once: one wins, the other is shown what changed. Every
//     form carries the version of the case that it was made from.
//   - A receipt number is never used twice, not even after a restore of a backup: it
//     holds three characters of the database's epoch.
//   - The secret of a case is in no address, and is stored as a hash only. Guessing is
//     slowed down per number. A wrong secret and a number that nobody has answer alike.
//   - Applicants' data are masked in lists and on tracking pages. In full they are on the
//     case page, for officers of the department; never in logs, audit or feeds.
//
// # Not here
//
// Items and their guides are in package catalog, working days in division/calendar.
// Attachments, transfer to other bodies, rating and statistics are not built yet.
package cases
