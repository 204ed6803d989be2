// Package bench measures what the library adds to bare etcd: each benchmark does the
// same with etcd's own client and with ours, in turn, on one etcd with its disk syncs
// on, and reports the medians and their ratio. Command bench/table prints them beside
// the targets. BENCH_DIR is where etcd keeps its data, for machines whose temporary
// directory is in memory; BENCH_MEMENTOS is how many mementos count as many, a million
// if it is not set. Planes of many nodes are measured beside smaller ones.
package bench
