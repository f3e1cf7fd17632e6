// Package resequence puts the packets of a flow that took several paths back
// into order.
//
// A packet that is missing holds up those behind it until
//
//   - it comes,
//   - every path that brings packets has brought one sent after it: a path
//     carrier keeps the order, so it was dropped before it was sent,
//   - the first of those that wait has waited for as long as the paths' delays
//     differ, or
//   - more would wait than may.
//
// Then it is passed over. If it comes after all it is released at once: out of
// order is better than lost. Whoever owns it keeps duplicates out.
//
// Nothing here does I/O, reads a clock, locks or starts a goroutine: the time
// is an argument, and the same calls give the same answers.
package resequence
