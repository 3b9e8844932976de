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
