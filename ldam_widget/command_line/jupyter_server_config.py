"""Settings of a Jupyter server that make widgets faster; `ldam demo` uses them, docs/front-ends.md says what they cost.

JupyterLab redraws its busy indicator twice for every message of a widget, which takes as long as a picture; a type of
message that is not tracked leaves it alone. And without TCP_NODELAY, the server holds most messages to a page back
until the page has confirmed the one before, for up to 40 ms.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """Sends every message to the page at once."""

    def connect(self):  # type: ignore[no-untyped-def]
        self.websocket_handler.set_nodelay(True)
        return super().connect()


c = get_config()  # type: ignore[name-defined]  # noqa: F821  (Jupyter gives it to a configuration file)
c.MappingKernelManager.untracked_message_types.append("comm_msg")
c.ServerApp.kernel_websocket_connection_class = PromptConnection
