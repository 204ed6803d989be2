// Package policy is the election policy, all of it: who may lead, and who should. Its
// functions are pure: every node computes the same answer from the same plane.
package policy
