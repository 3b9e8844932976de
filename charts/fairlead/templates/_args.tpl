{{/* The operator's flags. What is the program's own default is left out. */}}
{{- define "fairlead.args" -}}
- --registry-bind-address=:{{ .Values.registry.port }}
- --health-probe-bind-address=:8081
- --metrics-bind-address={{ if .Values.metrics.enabled }}:{{ .Values.metrics.port }}{{ else }}0{{ end }}
{{- if not .Values.admin.enabled }}
- --admin-bind-address=0
{{- else if ne (int .Values.admin.port) 8082 }}
- --admin-bind-address=127.0.0.1:{{ .Values.admin.port }}
{{- end }}
{{- if eq .Values.registry.tls.mode "files" }}
- --registry-tls=files
- --registry-cert-dir=/etc/fairlead/tls
{{- end }}
{{- with .Values.registry.advertiseAddresses }}
- --registry-advertise-address={{ join "," . }}
{{- end }}
{{- if ne .Values.registry.drainTimeout "10s" }}
- --registry-drain-timeout={{ .Values.registry.drainTimeout }}
{{- end }}
{{- if .Values.registry.epoch }}
- --epoch={{ int64 .Values.registry.epoch }}
{{- end }}
{{- if ne (toString .Values.manager.log.level) "info" }}
- --zap-log-level={{ .Values.manager.log.level }}
{{- end }}
{{- if ne .Values.manager.log.format "json" }}
- --zap-encoder={{ .Values.manager.log.format }}
{{- end }}
{{- range .Values.manager.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* Refuses a drain that the Pod does not live to see: the flag is in Go's notation, the grace in seconds. */}}
{{- define "fairlead.checkDrain" -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" .Values.registry.drainTimeout -1 -}}
{{- $unit := regexFind "(ms|s|m|h)$" . -}}
{{- $seconds = addf $seconds (mulf (float64 (trimSuffix $unit .)) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit)) -}}
{{- end -}}
{{- if gt (addf $seconds 5.0) (float64 .Values.manager.terminationGracePeriodSeconds) -}}
{{- fail (printf "manager.terminationGracePeriodSeconds is %v, want at least registry.drainTimeout (%s) and 5 s" .Values.manager.terminationGracePeriodSeconds .Values.registry.drainTimeout) -}}
{{- end -}}
{{- end }}
