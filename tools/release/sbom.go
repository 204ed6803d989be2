package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOM writes the contents of a binary as CycloneDX: the binary itself, each module
// that Go recorded in it, and Go's standard library.
func writeSBOM(at string, info *debug.BuildInfo, program []byte, when time.Time) error {
	main := component(cdx.ComponentTypeApplication, &info.Main)
	main.Name = "coordinator"
	main.Licenses = &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}
	main.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(program))}}
	main.Properties = settings(info)
	parts := []cdx.Component{component(cdx.ComponentTypeLibrary, &debug.Module{
		Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go"),
	})}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, component(cdx.ComponentTypeLibrary, m))
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: when.Format(time.RFC3339), Component: &main}
	bom.Components = &parts
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return fmt.Errorf("encode the SBOM: %w", err)
	}
	return os.WriteFile(at, text.Bytes(), 0o644)
}

// component describes a module. Its checksum is Go's own, over the module's files.
func component(kind cdx.ComponentType, m *debug.Module) cdx.Component {
	// As purl-spec has it for Go: lower case, with the plus sign escaped.
	url := "pkg:golang/" + strings.ToLower(m.Path) + "@" + strings.ReplaceAll(cmp.Or(m.Version, "devel"), "+", "%2B")
	c := cdx.Component{BOMRef: url, Type: kind, Name: m.Path, Version: m.Version, PackageURL: url}
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
	}
	return c
}

// settings describes how a binary was built.
func settings(info *debug.BuildInfo) *[]cdx.Property {
	var told []cdx.Property
	for _, s := range info.Settings {
		told = append(told, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
	}
	return &told
}
