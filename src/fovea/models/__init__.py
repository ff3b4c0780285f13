"""Networks: one catalogue over timm and torchvision, their weights, their parts and the folder they are saved in."""
