// Command testsum stands between `go test -json` and a person: it prints what
// go test would, and at the end how many tests passed and were skipped, why each
// of the latter was, which took long, and once more what failed. A skip without a
// reason is a failure, because nobody can tell it from a test that was forgotten.
//
//	go test -json ./... | go run ./hack/testsum [-v] [-skipped FILE]
//
// With -v the output of every test is passed on as it comes. With -skipped the
// skipped tests are added to the file, for one list over several runs. The exit
// code is 1 when a test or a package failed.
package main
