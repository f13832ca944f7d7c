// Package calendar counts working days 工作日 as limits of handling are counted: the day
// something happens is not counted (Civil Code, art. 201), weekends and statutory holidays
// are not working days (Administrative Licensing Law, art. 82), make-up Saturdays and
// Sundays 调休上班 are.
//
// A [Calendar] is a value: [Default] has the days that the State Council published for
// 2004 to 2026, [Calendar.With] adds a division's own, [Calendar.WithYear] a year
// published since. NOTICE names the origin of the days.
//
// # Beyond what is published
//
// The notice for a year appears late in the year before. Outside the covered years plain
// weekends are used and [Calendar.Provisional] says so: whoever shows or stores a deadline
// must say so too, and compute it again when the year is published. Even within the last
// covered year the end of December is not final: 5 of the 22 notices after the first moved
// days between the end of December and New Year.
//
// # Time
//
// A day is a day of China Standard Time, UTC+8, whatever the location of the given time;
// the zone is built in and needs no system data. (Summer time, 1986 to 1991, is ignored.)
// Everything is pure, safe for concurrent use, and takes a few microseconds whatever the
// number of days.
package calendar

//go:generate go run ./internal/pack -out days.txt
