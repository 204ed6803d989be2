// Package lint holds only tests: it reads the sources of the whole module and
// reports where they break the project's rules. Each rule is a function from sources
// to findings, so that a table of small sources can show that it finds a breach.
package lint
