"""Training under noise, alone and together with one C. To be imported by module: Lightning takes seconds."""
