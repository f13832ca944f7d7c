// Package divisions runs four levels of divisions as real processes, breaks their lines and
// their machines on purpose while people apply and lodge cases, and judges: every
// acknowledged application is in the district's files once and counted once by every level
// above it; every case that was lodged in another province has arrived once.
//
// Lines are cut, made to swallow packets without a word (all of them, or the long ones), and
// one is slow all along. Processes are killed at every level, whole divisions are restarted
// in any order, and divisions are restored from an older backup. What happens when, and to
// whom, comes of a seed; what the machine makes of it does not.
//
// Not here: wrong clocks and weeks without a line, which package simulate tries in virtual
// time; a district that is restored loses what it had acknowledged after its backup, so only
// divisions that pass things on are restored.
package divisions
