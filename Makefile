FUZZTIME = 10s
DUR      = 10m
SEEDS    = 200

.PHONY: build test race integration soak fuzz mutants lint fmt bench rules docs image release

build:       ; go build -o bin/ ./cmd/coordinator
test:        ; go test ./... && cd tools && go test ./...
race:        ; go test -race -short ./...
integration: ; go test -count=1 ./test/integration
soak:        ; go run ./test/lab/soak -dur $(DUR) -seeds $(SEEDS)
fuzz:        ; .ci/fuzz $(FUZZTIME)
mutants:     ; go test -count=1 -v -timeout 30m ./test/lab/mutants -all
lint:        ; go vet ./... && go tool -modfile=tools/go.mod staticcheck ./... && go test ./internal/lint
fmt:         ; go tool -modfile=tools/go.mod gofumpt -w .
rules:       ; promtool check rules deploy/prometheus/alerts.yml && promtool test rules deploy/prometheus/alerts_test.yml
bench:       ; go run ./bench/table
docs:        ; go test ./cmd/coordinator -run TestDocs_AreCurrent -update
image:       ; mkdir -p dist/image/out/data && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o dist/image/out/ ./cmd/coordinator && docker build -t coordinator:local -f deploy/docker/Dockerfile dist/image
release:     ; cd tools && go run ./release
