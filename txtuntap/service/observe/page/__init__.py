"""
A live page: a web page that shows a running service, and the same as JSON.

L{live<txtuntap.service.observe.page.live>} has the service that a program uses. It collects what
L{subject<txtuntap.service.observe.page.subject>} describes, only while somebody looks.
"""
