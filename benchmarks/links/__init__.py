"""Two network namespaces with an emulated link between them."""
