// Package lint is a test and nothing else: it reads the sources of the whole
// module and reports where they leave the house's rules. Each rule is a function
// from sources to findings, so that a table of small sources that break it can
// show that it is able to fail.
package lint
