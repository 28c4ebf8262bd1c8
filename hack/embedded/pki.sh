# shellcheck shell=bash
# The cluster's certificates and kubeconfigs: made anew by each `up`, in $state/pki.

authority() { # name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout "$1.key" -out "$1.crt" \
    -subj "/CN=$id-$1" -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

certificate() { # name, subject, alternative names (may be empty), authority (default ca)
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2"
  openssl x509 -req -in "$1.csr" -CA "${4:-ca}.crt" -CAkey "${4:-ca}.key" -set_serial "0x$(openssl rand -hex 8)" -days 365 \
    -out "$1.crt" -extfile <(
      echo "keyUsage=critical,digitalSignature"
      echo "extendedKeyUsage=clientAuth,serverAuth"
      echo "basicConstraints=critical,CA:FALSE"
      echo "subjectKeyIdentifier=hash"
      echo "authorityKeyIdentifier=keyid" # clients on Python 3.13 refuse certificates without one
      [ -z "${3:-}" ] || echo "subjectAltName=$3"
    )
}

kubeconfig() { # certificate's name, file
  cat > "$2" <<Y
apiVersion: v1
kind: Config
current-context: $name
contexts: [{name: "$name", context: {cluster: "$name", user: "$1"}}]
clusters:
- name: $name
  cluster: {server: "https://$node:6443", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
Y
  chmod 600 "$2"
}

pki() { # in $state
  mkdir -p pki
  cd pki || die "cannot enter $state/pki"
  local mask; mask=$(umask); umask 077
  authority ca
  authority front-ca
  openssl ecparam -name prime256v1 -genkey -noout -out sa.key
  certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:10.96.0.1,IP:$node,IP:127.0.0.1" &
  certificate front /CN=front-proxy "" front-ca &
  certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet &
  certificate kubelet-serving /O=system:nodes/CN=system:node:node "DNS:node,IP:$node" &
  certificate admin /O=system:masters/CN=admin &
  certificate kubelet /O=system:nodes/CN=system:node:node &
  local c
  for c in kube-controller-manager kube-scheduler kube-proxy coredns; do certificate $c "/CN=system:$c" & done
  wait
  for c in admin kubelet kube-controller-manager kube-scheduler kube-proxy coredns; do
    [ -s "$c.crt" ] || die "openssl made no certificate for $c; see $logs/openssl.log"
    kubeconfig $c $c.conf
  done
  cp admin.conf "$dir/kubeconfig"
  umask "$mask"
  cd ..
}
