// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
)

// admissionObjects lists the objects of config/admission.
func admissionObjects() (out []string) {
	files, err := filepath.Glob(root("config", "admission", "*.yaml"))
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		objects, err := parse(string(text))
		if err != nil {
			panic(err)
		}
		for _, o := range objects {
			out = append(out, o.GetKind()+"/"+o.GetName())
		}
	}
	return out
}

// admissionFolder names the folder of config, if it is there.
func admissionFolder() []string {
	if len(admissionObjects()) == 0 {
		return nil
	}
	return []string{"admission"}
}
