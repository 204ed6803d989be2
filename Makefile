.PHONY: build test race integration lint fmt bench rules

build:       ; go build -o bin/ ./cmd/coordinator
test:        ; go test ./...
race:        ; go test -race -short ./...
integration: ; go test -count=1 ./test/integration
lint:        ; go vet ./... && go tool -modfile=tools/go.mod staticcheck ./... && go test ./internal/lint
fmt:         ; go tool -modfile=tools/go.mod gofumpt -w .
rules:       ; promtool check rules deploy/prometheus/alerts.yml && promtool test rules deploy/prometheus/alerts_test.yml
bench:       ; go run ./bench/table
