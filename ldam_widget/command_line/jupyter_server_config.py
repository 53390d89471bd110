"""Settings of a Jupyter server that make widgets faster; `ldam demo` uses them, docs/front-ends.md says what they cost.

JupyterLab redraws its busy indicator twice for every message from a widget's page to the kernel, which takes as long as
a picture; it does not for a type of message that is not tracked (JupyterLab 4.5, jupyterlab_server 2.28 and later). And
the server's connection to the page waits for the page's delayed TCP acknowledgements (Nagle's algorithm), up to 40 ms.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

connect = ZMQChannelsWebsocketConnection.connect


def connect_without_delay(self):  # type: ignore[no-untyped-def]
    self.websocket_handler.set_nodelay(True)
    return connect(self)


ZMQChannelsWebsocketConnection.connect = connect_without_delay  # type: ignore[method-assign]

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (Jupyter gives it to a configuration file)
c.MappingKernelManager.untracked_message_types.append("comm_msg")
