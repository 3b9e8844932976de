{{/* What names begin with. */}}
{{- define "fairlead.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The operator's own name: Deployment, roles, bindings. */}}
{{- define "fairlead.manager" -}}
{{ include "fairlead.fullname" . }}-manager
{{- end }}

{{- define "fairlead.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "fairlead.manager" .) }}
{{- else -}}
{{ required "serviceAccount.name is needed, because serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* The registry's name is the same everywhere: callers' manifests and the certificate have it. */}}
{{- define "fairlead.registry" -}}
fairlead-registry
{{- end }}

{{/* What a Deployment's and a Service's selectors go by; never changes while a release lives. */}}
{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "fairlead.labels" -}}
{{ include "fairlead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fairlead.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether the admission policy is rendered: "true" or nothing. */}}
{{- define "fairlead.admission" -}}
{{- if eq (toString .Values.admission.enabled) "auto" -}}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}true{{- end -}}
{{- else if eq (toString .Values.admission.enabled) "true" -}}true{{- end -}}
{{- end }}
