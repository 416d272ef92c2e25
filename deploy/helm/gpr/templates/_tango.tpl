{{- define "gpr.pod" }}
metadata:
  labels:
    app: tango
  annotations:
    checksum/settings: {{ printf "%s %s" .Values.envConfigMapName (toJson .Values.settings) | sha256sum }}
spec:
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  automountServiceAccountToken: false
  nodeSelector:
{{ toYaml .Values.nodeSelector | indent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
{{- if not .Values.daemonSet }}
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app: tango
{{- end }}
  containers:
    - name: tango
      image: {{ .Values.image | quote }}
      imagePullPolicy: {{ .Values.imagePullPolicy }}
      args: ["server"]
      ports:
        - name: api
          containerPort: 3031
          protocol: TCP
{{- if .Values.hostPort }}
          hostPort: {{ .Values.hostPort }}
{{- end }}
      env:
        - {name: LISTEN, value: "0.0.0.0:3031"}
        - {name: DATA_DIR, value: /run/tango/data}
{{- if .Values.tlsSecretName }}
        - {name: TLS_CERT_FILE, value: /data/ssl/tls.crt}
        - {name: TLS_KEY_FILE, value: /data/ssl/tls.key}
{{- else }}
        - {name: ALLOW_HTTP, value: "True"}
{{- end }}
{{- if .Values.caConfigMapName }}
        - {name: MONGODB_CA_FILE, value: /etc/tango/ca/ca.pem}
        - {name: S3_CA_FILE, value: /etc/tango/ca/ca.pem}
{{- end }}
{{- if .Values.objectStore.enabled }}
        - {name: S3_INTERNAL_ENDPOINT, value: "https://objects:9000"}
        - {name: OBJECT_COPIES, value: {{ min 3 (int .Values.objectStore.replicas) | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if ne (toString $value) "" }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
      envFrom:
        - secretRef:
            name: {{ .Values.secretName }}
      # The program answers /login with 200 when it should get traffic, and 503 while it drains.
      startupProbe:
        httpGet: {path: /login, port: api, scheme: {{ if .Values.tlsSecretName }}HTTPS{{ else }}HTTP{{ end }}}
        periodSeconds: 2
        failureThreshold: 90
      readinessProbe:
        httpGet: {path: /login, port: api, scheme: {{ if .Values.tlsSecretName }}HTTPS{{ else }}HTTP{{ end }}}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /livez, port: api, scheme: {{ if .Values.tlsSecretName }}HTTPS{{ else }}HTTP{{ end }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
{{ toYaml .Values.resources | indent 8 }}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities:
          drop: ["ALL"]
      volumeMounts:
        - {name: run, mountPath: /run/tango}
        - {name: tmp, mountPath: /tmp}
{{- if .Values.envConfigMapName }}
        - {name: env, mountPath: /etc/tango/tango.env, subPath: tango.env, readOnly: true}
{{- end }}
{{- if .Values.tlsSecretName }}
        - {name: tls, mountPath: /data/ssl, readOnly: true}
{{- end }}
{{- if .Values.caConfigMapName }}
        - {name: ca, mountPath: /etc/tango/ca, readOnly: true}
{{- end }}
  volumes:
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 256Mi}
    - name: tmp
      emptyDir: {}
{{- if .Values.envConfigMapName }}
    - name: env
      configMap:
        name: {{ .Values.envConfigMapName }}
{{- end }}
{{- if .Values.tlsSecretName }}
    - name: tls
      secret:
        secretName: {{ .Values.tlsSecretName }}
        defaultMode: 0440
{{- end }}
{{- if .Values.caConfigMapName }}
    - name: ca
      configMap:
        name: {{ .Values.caConfigMapName }}
{{- end }}
{{- end }}
