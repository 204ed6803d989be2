// Package bench measures what the library adds to plain etcd: each benchmark does the same
// with etcd's own client and with the library, in turn, on one etcd with disk syncs on, and
// reports the medians and their ratio. Command bench/table prints them next to the targets.
// BENCH_DIR is where etcd keeps its data, for machines whose temporary directory is in
// memory; BENCH_MEMENTOS is the number of mementos of a large state, by default a million.
// Planes of many nodes are compared with smaller ones.
package bench
