"""What everything costs: the price book."""

from starlette.responses import JSONResponse, Response

from palyra.api.access import READ
from palyra.api.deps import ApiDeps
from palyra.api.routes import Routes
from palyra.api.schemas.models import PriceList


class Prices:
    """Handlers of ``/prices``."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/prices", self.list_prices, READ, answer=PriceList)

    async def list_prices(self) -> Response:
        """The price book: its version, and every entry with source and validity."""
        return JSONResponse(dict(self._deps.prices()))
