{{/* The pod of the Deployment and of the StatefulSet. */}}
{{- define "revocation-hub.podTemplate" -}}
{{- $sqlite := eq .Values.database.kind "sqlite" -}}
metadata:
  labels:
    {{- include "revocation-hub.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The hub reads its file once, so another file means other pods.
    checksum/config: {{ include "revocation-hub.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "revocation-hub.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables named after services would only be noise beside the hub's own.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "revocation-hub.grace" . }}
  {{- with include "revocation-hub.pullSecrets" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- include "revocation-hub.podSecurity" . | nindent 4 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "revocation-hub.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- if eq .Values.migrations.mode "init" }}
  initContainers:
    {{- include "revocation-hub.migrateContainer" . | nindent 4 }}
  {{- end }}
  containers:
    - name: hub
      image: {{ include "revocation-hub.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/revocation-hub/revocation-hub.toml]
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: {{ int64 .Values.containerPort }}
        {{- with .Values.admin.port }}
        - name: admin
          containerPort: {{ int64 . }}
        {{- end }}
      {{- if .Values.preStopSleepSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ int64 .Values.preStopSleepSeconds }}
      {{- end }}
      startupProbe:
        httpGet: { path: /livez, port: {{ include "revocation-hub.adminPort" . }}, scheme: {{ include "revocation-hub.adminScheme" . }} }
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: {{ include "revocation-hub.adminPort" . }}, scheme: {{ include "revocation-hub.adminScheme" . }} }
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: {{ include "revocation-hub.adminPort" . }}, scheme: {{ include "revocation-hub.adminScheme" . }} }
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "revocation-hub.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/revocation-hub, readOnly: true }
        {{- if $sqlite }}
        - { name: data, mountPath: /var/lib/revocation-hub }
        # Where SQLite sorts what is too large for memory.
        - { name: tmp, mountPath: /tmp }
        {{- else }}
        - { name: database, mountPath: /run/secrets/revocation-hub-database, readOnly: true }
        {{- end }}
        {{- if .Values.tls.existingSecret }}
        - { name: tls, mountPath: /run/secrets/revocation-hub-tls, readOnly: true }
        {{- if .Values.tls.clients.existingSecret }}
        - { name: client-ca, mountPath: /run/secrets/revocation-hub-client-ca, readOnly: true }
        {{- end }}
        {{- end }}
        {{- range $i, $name := .Values.secretFiles }}
        - { name: secret-{{ $i }}, mountPath: /run/secrets/revocation-hub/{{ $name }}, readOnly: true }
        {{- end }}
        {{- range $i, $name := .Values.configMapFiles }}
        - { name: files-{{ $i }}, mountPath: /run/files/revocation-hub/{{ $name }}, readOnly: true }
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "revocation-hub.fullname" . }}
    {{- if not $sqlite }}
    - name: database
      secret:
        secretName: {{ .Values.database.postgres.existingSecret }}
        defaultMode: 0440
    {{- if eq .Values.migrations.mode "init" }}
    {{- include "revocation-hub.migrateVolume" . | nindent 4 }}
    {{- end }}
    {{- else }}
    - name: tmp
      emptyDir: {}
    {{- with .Values.database.sqlite.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- end }}
    {{- with .Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- with $.Values.tls.clients.existingSecret }}
    - name: client-ca
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
    {{- range $i, $name := .Values.secretFiles }}
    - name: secret-{{ $i }}
      secret:
        secretName: {{ $name }}
        defaultMode: 0440
    {{- end }}
    {{- range $i, $name := .Values.configMapFiles }}
    - name: files-{{ $i }}
      configMap:
        name: {{ $name }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Applies migrations; needs the URL and nothing else of the configuration. */}}
{{- define "revocation-hub.migrateContainer" -}}
{{- $secret := include "revocation-hub.migrationSecret" . | fromJson -}}
- name: migrate
  image: {{ include "revocation-hub.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [migrate]
  env:
    {{- if eq .Values.database.kind "sqlite" }}
    - name: REVOCATION_HUB_DATABASE_URL
      value: sqlite:///var/lib/revocation-hub/revocation-hub.db
    {{- else }}
    - name: REVOCATION_HUB_DATABASE_URL_FILE
      value: /run/secrets/revocation-hub-migrations/{{ $secret.key }}
    {{- end }}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "revocation-hub.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- if eq .Values.database.kind "sqlite" }}
    - { name: data, mountPath: /var/lib/revocation-hub }
    - { name: tmp, mountPath: /tmp }
    {{- else }}
    - { name: migrations, mountPath: /run/secrets/revocation-hub-migrations, readOnly: true }
    {{- end }}
    {{- /* The URL may name a certificate of theirs. */}}
    {{- range $i, $name := .Values.secretFiles }}
    - { name: secret-{{ $i }}, mountPath: /run/secrets/revocation-hub/{{ $name }}, readOnly: true }
    {{- end }}
    {{- range $i, $name := .Values.configMapFiles }}
    - { name: files-{{ $i }}, mountPath: /run/files/revocation-hub/{{ $name }}, readOnly: true }
    {{- end }}
{{- end -}}

{{- define "revocation-hub.migrateVolume" -}}
- name: migrations
  secret:
    secretName: {{ (include "revocation-hub.migrationSecret" . | fromJson).name }}
    defaultMode: 0440
{{- end -}}
