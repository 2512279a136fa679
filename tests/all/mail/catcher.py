"""aiosmtpd, which prints each message as Python's own parser reads it.

Arguments: a JSON object with certificate and key (files; STARTTLS is required), user and password (AUTH is required).
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in message.items()],
            "defects": [str(defect) for part in message.walk() for defect in part.defects]
            + [str(defect) for value in message.values() for defect in value.defects],
            "type": message.get_content_type(),
            "text": text and text.get_content().replace("\r\n", "\n"),
            "html": html and html.get_content().replace("\r\n", "\n"),
            "longest": max(len(line) for line in envelope.content.split(b"\r\n")),
            "peer": session.peer[1],
            "tls": session.ssl is not None,
            "authenticated": session.authenticated,
        }))  # fmt: skip
        return "250 2.0.0 Ok: queued as 4F2A"


def authenticate(server, session, envelope, mechanism, data):
    expected = (options["user"].encode(), options["password"].encode())
    return AuthResult(success=(data.login, data.password) == expected, handled=False)


def tls():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options["certificate"], options["key"])
    return context


def smtp():
    more = {}
    if "certificate" in options:
        more |= {"tls_context": tls(), "require_starttls": True}
    if "user" in options:
        more |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    return SMTP(Handler(), hostname="localhost", enable_SMTPUTF8=False, **more)


async def main():
    server = await asyncio.get_running_loop().create_server(smtp, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}))
    await server.serve_forever()


asyncio.run(main())
