"""Certificates as an authority makes them, in folders as Kubernetes mounts Secrets.

Owns: keys, names and dates of certificates, and how files are replaced. Knows nothing of what a test wants from them.
"""

import datetime
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
ENGINE = "lps-engine"


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, days):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - 10 * DAY).not_valid_after(now + days * DAY)
    )


class Authority:
    """Makes certificates that whoever has `pem` believes."""

    def __init__(self, name="authority"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, _name(name), self.key, 10)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.cert = builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names, days=5):
        """The entries of a Secret of the type kubernetes.io/tls: a new certificate and its key, and this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        builder = _builder("leaf", self.cert.subject, key, days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert = builder.sign(self.key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"tls.crt": cert.public_bytes(serialization.Encoding.PEM), "tls.key": private, "ca.crt": self.pem}


class Mounted:
    """A Secret in a folder: each entry is a link through `..data`, and a change points that at another folder."""

    def __init__(self, folder, entries):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.versions = folder, 0
        self.write(entries)
        for name in entries:
            (folder / name).symlink_to(f"..data/{name}")

    def write(self, entries):
        self.versions += 1
        version = self.folder / f"..v{self.versions}"
        version.mkdir()
        for name, content in entries.items():
            (version / name).write_bytes(content)
        aside = self.folder / "..data_tmp"
        aside.symlink_to(version.name)
        aside.replace(self.folder / "..data")

    @property
    def cert(self):
        return self.folder / "tls.crt"

    @property
    def key(self):
        return self.folder / "tls.key"

    @property
    def ca(self):
        return self.folder / "ca.crt"

    def believing(self):
        """A client's context that believes this authority."""
        return ssl.create_default_context(cafile=self.ca)

    def showing(self):
        """The same, which shows this certificate."""
        context = self.believing()
        context.load_cert_chain(self.cert, self.key)
        return context


def serial(entries):
    """By which a certificate is known again."""
    return x509.load_pem_x509_certificate(entries["tls.crt"]).serial_number


def expires(entries):
    """When a certificate does, in seconds since 1970."""
    return x509.load_pem_x509_certificate(entries["tls.crt"]).not_valid_after_utc.timestamp()
