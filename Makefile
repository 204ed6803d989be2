.PHONY: build test race integration lint fmt bench docs release

build:       ; go build -o bin/ ./cmd/coordinator
test:        ; go test ./... && cd tools && go test ./...
race:        ; go test -race -short ./...
integration: ; go test -count=1 ./test/integration
lint:        ; go vet ./... && go tool -modfile=tools/go.mod staticcheck ./... && go test ./internal/lint
fmt:         ; go tool -modfile=tools/go.mod gofumpt -w .
bench:       ; go run ./bench/table
docs:        ; go test ./cmd/coordinator -run TestDocs_AreCurrent -update
release:     ; cd tools && go run ./release
