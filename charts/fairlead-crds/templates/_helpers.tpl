{{/* Labels of everything in this chart. */}}
{{- define "fairlead-crds.labels" -}}
app.kubernetes.io/name: fairlead-crds
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The chart's version as a number that grows with it, for the policy that compares. */}}
{{- define "fairlead-crds.number" -}}
{{- $v := semver .Chart.Version -}}
{{- add (mul $v.Major 1000000) (mul $v.Minor 1000) $v.Patch -}}
{{- end }}

{{/*
Refuses to be older than what the cluster has. The admission policy does so too, whoever sends the definitions; but they
outlive it when this chart is uninstalled. Where Helm asks no cluster, as in helm template, nothing is found.
*/}}
{{- define "fairlead-crds.checkForward" -}}
{{- $number := include "fairlead-crds.number" . | int64 -}}
{{- range $plural := list "rpcservices" "rpccallpolicies" "rpclimitpolicies" -}}
{{- $there := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (printf "%s.rpc.fairlead.dev" $plural) -}}
{{- if gt (dig "metadata" "annotations" "rpc.fairlead.dev/definitions" "0" $there | int64) $number -}}
{{- fail (printf "the definitions of fairlead-crds-%s are older than those in the cluster (%s): leave them as they are, for an older operator works with newer definitions; or set forwardOnly=false, and fields that the older ones do not know are dropped from objects" $.Chart.Version $plural) -}}
{{- end -}}
{{- end -}}
{{- end }}
